"""The adapted image side: beta's image encoder learns from alpha's what a picture at phi shows."""
