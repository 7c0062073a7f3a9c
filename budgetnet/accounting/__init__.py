"""What everything exchanges: the Account, its rows, receptive fields and tables. No torch."""
