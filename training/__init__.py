"""How the shipped demo model is made: our own stories, a tokenizer, training, export and model card."""
