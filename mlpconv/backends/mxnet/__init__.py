"""The MXNet Gluon back end."""
