"""One HTML page of finished workdirs."""
