"""Apache Kafka on this machine: its jars from Maven Central, and one broker that runs from them."""
