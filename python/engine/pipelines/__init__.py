"""The processes of an attempt on a node of a cluster."""
