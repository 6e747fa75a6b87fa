"""Two result sets, or the cells of one, held against each other: what differs beyond noise."""
