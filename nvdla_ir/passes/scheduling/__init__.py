"""When hardware layers run: what they wait for, and in which order they are enabled."""
