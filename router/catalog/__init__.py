"""What is configured: buses, rules, targets, permissions and tags; pure changes and their persistence."""
