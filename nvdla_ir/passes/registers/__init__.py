"""From hardware layers to register fields: which operations form a layer, where tensors lie in
memory, and what each unit's registers hold."""
