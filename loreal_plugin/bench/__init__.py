"""What the methods cost: time, memory and tunable parameters, of hosts and of hosts with LOREAL."""
