"""How fast a model runs here, beside what the machine allows."""
