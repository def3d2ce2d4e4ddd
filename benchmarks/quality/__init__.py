"""How good the recommendations are: every model under the same protocols, compared in pairs."""
