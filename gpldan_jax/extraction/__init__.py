"""From images and captions to a feature file."""
