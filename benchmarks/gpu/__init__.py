"""minidecilm on one GPU: agreement, limits of the card, speed, and the headline."""
