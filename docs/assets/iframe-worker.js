// The search asks a Worker, which browsers do not start for a page that is opened as a file: there, a frame of the page
// answers in its place.
if (location.protocol === 'file:')
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      const frame = document.createElement('iframe')
      frame.hidden = true
      frame.srcdoc = `<script src="${url}"></script>`
      frame.onload = () => {
        this.window = frame.contentWindow
        this.window.postMessage = data => this.dispatchEvent(new MessageEvent('message', {data}))
        this.waiting.splice(0).forEach(data => this.postMessage(data))
      }
      document.body.append(frame)
    }

    postMessage(data) {
      if (this.window) this.window.dispatchEvent(new MessageEvent('message', {data}))
      else this.waiting.push(data)
    }
  }
