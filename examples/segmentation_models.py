"""segmentation_models.pytorch: train a Unet on our scae_allconv15, and DeepLabV3+ on our scae_vgg16, dilated."""

import segmentation_models_pytorch as smp
import torch

import scae_zoo  # noqa: F401  (makes the encoders known to timm, where `tu-` finds them)

images = torch.randn(4, 3, 32, 32)
masks = (torch.nn.functional.avg_pool2d(images.mean(1), 9, 1, 4) > 0).long()  # two classes: darker and lighter places

models = {
    # encoder_depth: how often the encoder halves the image; encoder_weights=True: ours, of its default checkpoint
    'Unet': smp.Unet('tu-scae_allconv15', encoder_depth=2, encoder_weights=True, decoder_channels=(64, 32), classes=2),
    # encoder_output_stride 8 or 16: our encoder keeps the places that its last strides would skip
    'DeepLabV3Plus': smp.DeepLabV3Plus('tu-scae_vgg16', encoder_weights=None, encoder_output_stride=16, classes=2),
}
for name, model in models.items():
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(4):
        loss = torch.nn.functional.cross_entropy(model(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f'{name}: the loss falls from {losses[0]:.3f} to {losses[-1]:.3f}')
