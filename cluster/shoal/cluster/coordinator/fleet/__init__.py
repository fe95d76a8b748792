"""Worker processes: pools, supervision, and the Ray actors behind them."""
