"""Room: numbers in, passports, figures, tables and pages out; plain data, no torch."""
