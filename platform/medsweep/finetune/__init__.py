"""LoRA fine-tuning: a plain training loop, the adapter it leaves, and Ray Train around it."""
