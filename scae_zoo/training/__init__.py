"""What training and evaluation need beyond the models; nothing here is imported by ``import scae_zoo``."""
