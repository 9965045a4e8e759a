"""The benchmarks. Most compare the service with stock ``transparent-background``. ``make bench`` runs all of them."""
