"""Plans for one's own audio: `ssast pretrain` and `ssast finetune`."""
