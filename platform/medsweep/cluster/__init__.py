"""Where stages run: a local Ray cluster, one node for each hardware profile."""
