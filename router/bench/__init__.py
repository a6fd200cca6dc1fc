"""The load client: what `crossbus bench` and the benchmarks of `loadtest/` put events with, and measure by."""
