"""The analysis of a study: plain tables in, plain values out."""
