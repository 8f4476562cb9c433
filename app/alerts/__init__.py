"""Alerts: rules over signals, incidents that open once and resolve by themselves, deliveries that don't get lost."""
