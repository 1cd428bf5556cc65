"""The commands of `tritongate`, a file each."""
