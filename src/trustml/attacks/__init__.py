"""What an attacker really gets: membership inference, canaries, audits; numpy over recorded scores."""
