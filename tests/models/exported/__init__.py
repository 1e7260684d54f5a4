"""Models as exporters really produce them: definitions, seeded weights, real exporters."""
