"""The EventBridge face: one short function an action, grouped by noun as in the catalog."""
