"""The language models: what they are, how they are prompted, what they can run on."""
