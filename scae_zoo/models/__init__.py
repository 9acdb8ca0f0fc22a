"""The networks: encoder, decoder, auto-encoder and segmenter."""
