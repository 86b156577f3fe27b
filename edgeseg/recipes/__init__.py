"""Functions that return a Recipe: what a good training looks like before anybody says otherwise."""
