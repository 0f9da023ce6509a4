"""How good models are in detail: which classes they confuse, how sure they are, whom they serve worse."""
