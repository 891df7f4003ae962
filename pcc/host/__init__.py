"""The machine that pcc runs on: files, the service user, installed packages, the system's log."""
