"""Mathematics on attributions, in numpy alone: how alike, how complex, how faithful, how stable."""
