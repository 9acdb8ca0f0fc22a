"""Lightning: fine-tune our pre-trained encoder, and keep it as a file that `scae finetune --from` takes, too."""

import lightning
import timm
import torch
from safetensors.torch import save_model
from torch.utils.data import DataLoader, TensorDataset

import scae_zoo  # noqa: F401  (makes the encoders known to timm)


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model('scae_springenberg9.dae_cifar10', pretrained=True, num_classes=2)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        images, labels = batch
        loss = torch.nn.functional.cross_entropy(self.backbone(images), labels)
        self.log('loss', loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-3)


labels = torch.arange(64) % 2
images = torch.randn(64, 3, 29, 29) + labels.view(-1, 1, 1, 1)  # darker and lighter noise
model = Classifier()
trainer = lightning.Trainer(max_epochs=2, devices=1, logger=False, enable_checkpointing=False)
trainer.fit(model, DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True))
save_model(model, 'encoder.safetensors')
print(f'the last loss is {trainer.callback_metrics["loss"]:.3f}; the network is in encoder.safetensors')
