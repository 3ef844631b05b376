"""From operations to hardware settings: which operations form a layer, what its units are told,
and where its tensors lie."""
