"""Stage `stream`: what somebody just did changes what they are offered, within seconds."""
