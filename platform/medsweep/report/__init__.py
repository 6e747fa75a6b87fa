"""The report: tables, figures and the reference data that they are set beside."""
