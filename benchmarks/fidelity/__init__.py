"""What in the method helps: noise or dropout, radius, site, weight, divergence, and ways for few labels."""
