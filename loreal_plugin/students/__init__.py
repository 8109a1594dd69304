"""Two frozen host models that share the CLIP file's tensors and keep what each of them learned."""
