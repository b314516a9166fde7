"""The state of an optimizer, carried with the network so that training resumes on the other side (`--optimizer`)."""
