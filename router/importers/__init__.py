"""What others wrote becomes calls of the hub's own APIs: CloudFormation templates."""
