"""The native engine: C++ on the processor, without PyTorch on the way from a prompt to its answer."""
