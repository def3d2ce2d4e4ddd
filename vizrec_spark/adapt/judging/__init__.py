"""How good a classifier and its vectors are on pictures that they have not learned from: plain numpy."""
