"""Looking into a finished run: predictions, where the encoder looks, what the slots say."""
