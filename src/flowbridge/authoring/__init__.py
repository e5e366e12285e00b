"""How users write flows: steps, flows, maps, conditions and options."""
