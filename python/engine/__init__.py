"""What Fettle ships to a cluster's nodes beside its binary."""
