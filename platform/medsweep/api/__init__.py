"""The Python interface behind `import medsweep`: plain functions that return tables."""
